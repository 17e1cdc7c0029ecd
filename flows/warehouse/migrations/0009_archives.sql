-- The raw months that were let go, each a file. A month is in the archive where its latest load is here
-- and raw has no rows of it; a month that was landed again from there is in both.
create table raw.archives (
    load_id bigint primary key,
    dataset text not null,
    source_month date not null,
    file text not null,
    sha256 text not null,
    bytes bigint not null,
    row_count bigint not null,
    column_count int not null,
    content_sha256 text not null,
    archived_at timestamptz not null,
    flow_run_id uuid
);
comment on table raw.archives is
'Raw months as Parquet files in data/archive, one row for each load that was archived (nyc-taxi-elt)';
comment on column raw.archives.file is 'The file''s name in data/archive';
comment on column raw.archives.sha256 is 'Hash of the file';
comment on column raw.archives.content_sha256 is
'Hash of the rows in their order, as PostgreSQL''s COPY writes them as CSV with each value quoted';

-- Where the row of an archived month is are columns that it did not have.
drop function if exists public.trip_origin(bigint, text);
