-- More datasets than the yellow taxis, of which version 0.1's months are. Nothing is loaded again; the
-- models are built once, since what 0.1 remembers of them has no dataset.
alter table raw.loads
    add column dataset text not null default 'yellow',
    add column is_sample boolean not null default false,
    add column etag text,
    add column last_modified text,
    add constraint source_month_is_a_month check (extract(day from source_month) = 1);
alter table raw.loads alter dataset drop default;
update raw.loads set is_sample = true where source ~ '/data/samples/[0-9]+_rows/';
create index loads_by_month on raw.loads (dataset, source_month, load_id desc);

alter table raw.malformed_lines
    add column dataset text not null default 'yellow',
    add constraint source_month_is_a_month check (extract(day from source_month) = 1);
alter table raw.malformed_lines alter dataset drop default;

drop table if exists staging.built_months;

comment on table raw.loads is
'The load audit: one row for each load that changed a raw table (nyc-taxi-elt)';
comment on table raw.malformed_lines is
'Lines of the loaded files that are not rows, of the latest load of each month (nyc-taxi-elt)';
