-- name: create_schema_migration
create table if not exists schema_migration (
    number integer primary key,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null default now()
);

-- name: lock_migrations
select pg_advisory_xact_lock(hashtext('consumidor schema_migration'));

-- name: applied_migrations
select number, name, checksum from schema_migration order by number;

-- name: record_migration
insert into schema_migration (number, name, checksum) values (%s, %s, %s);

-- name: role_exists
select exists (select from pg_roles where rolname = %s);

-- name: log_inquiries
select * from log_inquiries(%b::text[], %b::text[], %b::text[], %b::text[]);

-- name: answer_inquiries
select * from answer_inquiries(%b::text[], %b::text[], %b::text[], %b::text[]);

-- name: lock_data_keys
lock table data_key in share row exclusive mode;

-- name: newest_data_key
select key_id::text, wrapped from data_key order by created_at desc limit 1;

-- name: add_data_key
insert into data_key (key_id, wrapped) values (%s, %s);

-- name: ping
select;

-- name: chain_heads
select client, position, hash from chain_head;

-- name: inquiry_log
select client, request_id, person, purpose, (extract(epoch from at) * 1000000)::bigint as at, position, previous_hash, hash
from inquiry_log order by client, position;

-- name: lock_load
select pg_advisory_lock(hashtext('consumidor load'));

-- name: loaded
select people from load_progress where source = %s;

-- name: add_loaded
insert into load_progress as known (source, people) values (%s, %s)
on conflict (source) do update set people = known.people + excluded.people;

-- name: delete_people
delete from person where person = any (%b::text[]);

-- name: copy_people
copy person (person, key_id, sealed) from stdin (format binary);

-- name: copy_debts
copy debt (person, number, creditor, amount_cents, due_on, status) from stdin (format binary);

-- name: settle_people
vacuum (analyze) person, debt;
