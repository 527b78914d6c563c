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
comment on table inquiry_log is 'Every inquiry once, in one hash chain a client; written by inquire() alone.';

-- One link: SHA-256 of the previous hash and the row's fields, one a line (no field can hold a line break, see the checks above).
-- The time goes in as epoch microseconds: a timestamp's text depends on the session. `audit.py` computes the same in Python.
create function link_hash(previous_hash bytea, client text, request_id text, person text, purpose text, at timestamptz, pos bigint)
returns bytea
language sql stable parallel safe
return sha256(previous_hash || convert_to(
    client || E'\n' || request_id || E'\n' || person || E'\n' || purpose || E'\n'
    || (extract(epoch from at) * 1000000)::bigint || E'\n' || pos, 'UTF8'));

-- Reading people and auditing it are one act, in one transaction: log the batch, then answer it.
-- Takes one array a field; answers one row a request, in the order asked. A request seen before is logged once and answered again;
-- one seen before with another client, person or purpose is a `conflict` and gets no data. `at` is when it was first logged, so that
-- a repeat makes the same inquiry event.
-- The planner settings hold because plans are kept for a session's life and may be made while the tables are still tiny.
create function inquire(request_ids text[], clients text[], persons text[], purposes text[])
returns table (
    request_id text, outcome text, at timestamptz, sealed bytea, key_id text, wrapped bytea, debts text, total_open_cents bigint,
    client text, head_position bigint, head_hash bytea
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

    return query
    select asked.request_id,
        case when logged.request_id is null then 'conflict' when known.person is null then 'not_found' else 'found' end,
        coalesce(logged.at, now_at), coalesce(known.sealed, ''), coalesce(known.key_id::text, ''), coalesce(key.wrapped, ''),
        coalesce(owed.debts, ''), coalesce(owed.total_open_cents, 0),
        asked.client, positions[array_position(names, asked.client)], hashes[array_position(names, asked.client)]
    from unnest(request_ids, clients, persons, purposes) with ordinality as asked (request_id, client, person, purpose, number)
    left join inquiry_log as logged on logged.request_id = asked.request_id
        and logged.client = asked.client and logged.person = asked.person and logged.purpose = asked.purpose
    left join person as known on known.person = logged.person
    left join data_key as key on key.key_id = known.key_id
    left join lateral (
        select '[' || coalesce(string_agg(row_to_json(line)::text, ',' order by debt.number), '') || ']' as debts,
            coalesce(sum(debt.amount_cents) filter (where debt.status = 'open'), 0)::bigint as total_open_cents
        from debt
        cross join lateral (select debt.creditor, debt.amount_cents, debt.due_on, debt.status) as line
        where debt.person = known.person
    ) as owed on known.person is not null
    order by asked.number;
end
$$;
revoke execute on function inquire, link_hash from public;

reset role;
