-- Base A: who people are (sealed), what they owe, who asked for them.
-- Run by a role like RDS's master (NOSUPERUSER CREATEROLE, owner of the database), inside one transaction.

-- The owner of everything below. Nobody logs in as it. A CREATEROLE role that makes a role may administer it but neither become it
-- nor have its rights (PostgreSQL 16 on), hence the explicit grant.
do $$
begin
    if not exists (select from pg_roles where rolname = 'base_a_owner') then
        create role base_a_owner nologin;
    end if;
    grant base_a_owner to current_user with set true, inherit true;
    execute format('revoke all on database %I from public', current_database());
end
$$;
revoke all on schema public from public;
grant usage, create on schema public to base_a_owner;

set local role base_a_owner;
alter default privileges revoke execute on functions from public;

create table data_key (
    key_id uuid primary key,
    wrapped bytea not null,
    created_at timestamptz not null default clock_timestamp()
);
comment on table data_key is 'Data keys, wrapped by KMS; the newest seals, all open.';

create table person (
    person text collate "C" primary key check (person ~ '^[0-9a-f]{32}$'),
    key_id uuid not null references data_key,
    sealed bytea not null
);
comment on table person is 'CPF, name and address as one AES-256-GCM blob, keyed by the CPF''s pseudonym.';

create table debt (
    person text collate "C" not null references person on delete cascade,
    number integer not null,
    creditor text not null,
    amount_cents bigint not null check (amount_cents >= 0),
    due_on date not null,
    status text not null check (status in ('open', 'paid', 'renegotiated')),
    primary key (person, number)
);

create table load_progress (
    source text primary key,
    people bigint not null
);
comment on table load_progress is 'How many people of a source are loaded, so that seeding continues where it stopped.';

create table chain_head (
    client text collate "C" primary key check (client ~ '^[a-z0-9-]{1,40}$'),
    position bigint not null default 0,
    hash bytea not null default decode(repeat('00', 32), 'hex')
) with (fillfactor = 10);  -- room in the page for the next versions of a row that every batch updates
comment on table chain_head is 'The last link of each client''s chain in inquiry_log; locked while a batch is logged.';

create table inquiry_log (
    client text collate "C" not null check (client ~ '^[a-z0-9-]{1,40}$'),
    request_id text collate "C" primary key check (request_id ~ '^[!-~]{1,64}$'),
    person text collate "C" not null check (person ~ '^[0-9a-f]{32}$'),
    purpose text collate "C" not null check (purpose in ('credit', 'rental', 'employment', 'collection', 'own')),
    at timestamptz not null,
    position bigint not null check (position > 0),
    previous_hash bytea not null check (octet_length(previous_hash) = 32),
    hash bytea not null check (octet_length(hash) = 32),
    unique (client, position)
);
comment on table inquiry_log is 'Every inquiry once, in one hash chain a client; written by log_inquiries() alone.';

-- One link: SHA-256 of the previous hash and the row's fields, one a line (no field can hold a line break, see the checks above).
-- The time goes in as epoch microseconds: a timestamp's text depends on the session. `audit.py` computes the same in Python.
create function link_hash(previous_hash bytea, client text, request_id text, person text, purpose text, at timestamptz, pos bigint)
returns bytea
language sql stable parallel safe
return sha256(previous_hash || convert_to(
    client || E'\n' || request_id || E'\n' || person || E'\n' || purpose || E'\n'
    || (extract(epoch from at) * 1000000)::bigint || E'\n' || pos, 'UTF8'));

-- Nobody reads a person without a row in the log that stays. Hence two functions: the first logs a batch, the second answers what is
-- committed. One function that did both could be called, read and rolled back.
-- The planner settings hold because plans are kept for a session's life and may be made while the tables are still tiny.

-- Logs a batch, given as one array a field, and returns the new head of each client's chain. A request id that is in the log already,
-- whosever it is, is not logged again.
create function log_inquiries(request_ids text[], clients text[], persons text[], purposes text[])
returns table (client text, head_position bigint, head_hash bytea)
language plpgsql volatile security definer
set search_path = pg_catalog, public, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    now_at constant timestamptz := clock_timestamp();
    names text[];
    positions bigint[];
    hashes bytea[];
    entry record;
    link bytea;
begin
    insert into chain_head (client)
    select distinct asked.client from unnest(clients) as asked (client) order by asked.client
    on conflict do nothing;

    -- In one order for everyone, and in a statement of its own: that is what keeps concurrent batches from deadlock.
    perform from chain_head where client = any (clients) order by client for no key update;

    select array_agg(head.client order by head.client), array_agg(head.position order by head.client), array_agg(head.hash order by head.client)
    into names, positions, hashes
    from chain_head as head where head.client = any (clients);

    for entry in
        select asked.*, array_position(names, asked.client) as chain
        from unnest(request_ids, clients, persons, purposes) as asked (request_id, client, person, purpose)
        order by asked.request_id
    loop
        link := link_hash(hashes[entry.chain], entry.client, entry.request_id, entry.person, entry.purpose, now_at, positions[entry.chain] + 1);
        insert into inquiry_log (client, request_id, person, purpose, at, position, previous_hash, hash)
        values (entry.client, entry.request_id, entry.person, entry.purpose, now_at, positions[entry.chain] + 1, hashes[entry.chain], link)
        on conflict (request_id) do nothing;
        if found then
            positions[entry.chain] := positions[entry.chain] + 1;
            hashes[entry.chain] := link;
        end if;
    end loop;

    update chain_head as head set position = last.position, hash = last.hash
    from unnest(names, positions, hashes) as last (client, position, hash)
    where head.client = last.client and head.position <> last.position;

    return query select * from unnest(names, positions, hashes);
end
$$;

-- Answers a batch that is in the log, one row a request, in the order asked. `at` is when the request was first logged, so that a repeat
-- makes the same inquiry event. One logged with another client, person or purpose is a `conflict`, one logged over 13 hours ago is
-- `expired`, and neither gets data: a row in the log opens a person for as long as its request may wait (12 hours) and an hour to spare,
-- not for ever. That is by the clock, since a transaction's own time stands still for as long as it is kept open.
create function answer_inquiries(request_ids text[], clients text[], persons text[], purposes text[])
returns table (
    request_id text, outcome text, at timestamptz, sealed bytea, key_id text, wrapped bytea, debts text, total_open_cents bigint
)
language plpgsql volatile security definer
set search_path = pg_catalog, public, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    oldest constant timestamptz := clock_timestamp() - interval '13 hours';
    answered bigint;
begin
    -- Only what this very transaction wrote could be seen here and still be rolled back, by savepoint or whole.
    if pg_current_xact_id_if_assigned() is not null then
        raise exception 'this transaction has written: inquiries are answered after they are committed' using errcode = 'active_sql_transaction';
    end if;

    return query
    select asked.request_id,
        case when known.person is not null then 'found' when not matching.fully then 'conflict'
            when logged.at > oldest then 'not_found' else 'expired' end,
        logged.at, coalesce(known.sealed, ''), coalesce(known.key_id::text, ''), coalesce(key.wrapped, ''),
        coalesce(owed.debts, ''), coalesce(owed.total_open_cents, 0)
    from unnest(request_ids, clients, persons, purposes) with ordinality as asked (request_id, client, person, purpose, number)
    join inquiry_log as logged on logged.request_id = asked.request_id
    cross join lateral (
        select (logged.client, logged.person, logged.purpose) is not distinct from (asked.client, asked.person, asked.purpose) as fully
    ) as matching
    left join person as known on known.person = logged.person and matching.fully and logged.at > oldest
    left join data_key as key on key.key_id = known.key_id
    left join lateral (
        select '[' || coalesce(string_agg(row_to_json(line)::text, ',' order by debt.number), '') || ']' as debts,
            coalesce(sum(debt.amount_cents) filter (where debt.status = 'open'), 0)::bigint as total_open_cents
        from debt
        cross join lateral (select debt.creditor, debt.amount_cents, debt.due_on, debt.status) as line
        where debt.person = known.person
    ) as owed on known.person is not null
    order by asked.number;

    get diagnostics answered = row_count;
    if answered <> cardinality(request_ids) then
        raise exception 'not every request is in the log: inquiries are answered after they are committed'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    -- What a session commits with synchronous_commit off is seen before it is on disk, and a crash in that second would lose it.
    if pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn() then
        perform pg_logical_emit_message(false, 'answer_inquiries', '', true);
    end if;
end
$$;
revoke execute on function log_inquiries, answer_inquiries, link_hash from public;

reset role;
