"""A people worker as a first version of one is written: receive a message, answer it, delete it, then the next.

It does all that ours does for a request (verify, log and read in one SQL call, unseal, respond, tell Base C, delete), by our own code
where that is not about batches, so that what is compared is the batches.
"""

from typing import Any

from consumidor.events.producer import pack
from consumidor.people.answers import Answerer, Asked
from consumidor.people.request_token import Request, RequestVerifier
from consumidor.people.store import PeopleStore
from consumidor.people.vault import Vault
from consumidor.queues import receive
from consumidor.settings import Settings


def work(settings: Settings, sqs: Any, s3: Any, store: PeopleStore, vault: Vault, verifier: RequestVerifier) -> int:
    """Answer until the queue is empty; returns how many."""
    answerer = Answerer(vault, s3, settings.people_results_bucket, settings.people_response_limit_bytes)
    answered = 0
    while received := receive(sqs, settings.people_requests_queue_url, limit=1):
        (message,) = received
        request = verifier.verify(message.body)
        assert isinstance(request, Request)
        (outcome,) = store.inquire([request])
        answer = answerer.answer(Asked(message, request), outcome)
        sqs.send_message(QueueUrl=f"{settings.people_responses_queue_prefix}{request.client}", MessageBody=answer.response.body)
        sqs.send_message(QueueUrl=settings.events_feed_queue_url, MessageBody=next(pack([answer.event])))
        sqs.delete_message(QueueUrl=settings.people_requests_queue_url, ReceiptHandle=message.receipt)
        answered += 1
    return answered
