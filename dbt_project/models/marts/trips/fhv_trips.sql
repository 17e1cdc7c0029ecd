{{ config(
    materialized='partitioned_by_month',
    meta={'dataset': 'fhv'},
    indexes=[{'columns': ['pickup_datetime'], 'type': 'brin'}],
) }}

select
    (source_month - date '2000-01-01')::bigint * 100000000 + source_row as trip_id,

    pickup_datetime,
    dropoff_datetime,
    pickup_location_id,
    dropoff_location_id,
    {{ duration_minutes() }} as duration_minutes,

    dispatching_base_num,
    affiliated_base_num,
    sr_flag,
    faults,

    source_month,
    source_row,
    load_id

from {{ with_faults('fhv', ref('stg_tlc__fhv_trips')) }}
where not is_rejected
