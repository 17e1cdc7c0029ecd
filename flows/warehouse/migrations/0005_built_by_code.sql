-- By which code each month was built, and whether it had rows then. The builds are numbered in their
-- order. A month that an earlier version built has no code: it is built again, once.
create sequence bookkeeping.builds;
alter table bookkeeping.built_months
    drop column is_tested,
    add column code text,
    add column has_rows boolean not null default false,
    add column build_id bigint not null default nextval('bookkeeping.builds');

create table bookkeeping.built_code (
    relation text primary key,
    code text not null
);

create table bookkeeping.tested_months (
    test text,
    dataset text,
    source_month date,
    code text not null,
    build_id bigint not null,
    primary key (test, dataset, source_month)
);

comment on table bookkeeping.built_months is
'Of which load and by which code each month of a model has been built (nyc-taxi-elt)';
comment on table bookkeeping.built_code is
'By which code each view and seed has been made, for what is built of them (nyc-taxi-elt)';
comment on table bookkeeping.tested_months is
'Which build of each month a test has last passed on, and what it asked then (nyc-taxi-elt)';
