-- A row here is what two runs must not do at once. A row, not an advisory lock: those can be held by
-- anybody who may connect, and a pooler in transaction mode loses them.
create table raw.locks (name text primary key);

create table staging.built_months (
    relation text,
    dataset text,
    source_month date,
    load_id bigint not null,
    is_tested boolean not null default false,
    constraint source_month_is_a_month check (extract(day from source_month) = 1),
    primary key (relation, dataset, source_month)
);

create table staging.built_shapes (
    relation text primary key,
    shape text not null
);

create table staging.built_projects (
    trips_table text primary key,
    project text not null
);
