-- Mark what version 0.1 made, which knew no marks, as ours: what is says so at the end of its comment.
do $$
declare
    names text[] := array[
        'raw.loads', 'raw.malformed_lines', 'raw.yellow_tripdata',
        'staging.stg_tlc__loads', 'staging.stg_tlc__yellow_trips', 'staging.time_spine',
        'staging.built_months', 'public.taxi_zones', 'public.vendors', 'public.rate_codes',
        'public.payment_types', 'public.store_and_fwd_flags', 'public.trips_enriched'
    ];
    own record;
begin
    if to_regclass('staging.built_months') is not null then
        names := names || array(select distinct relation from staging.built_months);
    end if;
    for own in
        select
            case relkind when 'v' then 'view' else 'table' end as kind,
            pg_class.oid::regclass as name,
            coalesce(obj_description(pg_class.oid, 'pg_class') || ' ', '') || '(nyc-taxi-elt)' as comment
        from unnest(names) as of_version_0_1 (name)
        inner join pg_class on pg_class.oid = to_regclass(of_version_0_1.name)
    loop
        execute format('comment on %s %s is %L', own.kind, own.name, own.comment);
    end loop;
end
$$;
