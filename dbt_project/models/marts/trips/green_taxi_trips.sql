{{ config(
    materialized='partitioned_by_month',
    meta={'dataset': 'green', 'looks_at_neighbours': true},
    indexes=[{'columns': ['pickup_datetime'], 'type': 'brin'}],
) }}

select
    (source_month - date '2000-01-01')::bigint * 100000000 + source_row as trip_id,

    {{ to_the_hour_if_lost('pickup_datetime') }} as pickup_datetime,
    {{ to_the_hour_if_lost('dropoff_datetime') }} as dropoff_datetime,
    {{ location_id('pickup') }} as pickup_location_id,
    {{ location_id('dropoff') }} as dropoff_location_id,
    {{ zone_from('pickup') }} as pickup_zone_from,
    {{ zone_from('dropoff') }} as dropoff_zone_from,
    pickup_longitude,
    pickup_latitude,
    dropoff_longitude,
    dropoff_latitude,
    nullif(passenger_count, 0) as passenger_count,
    {{ unless_lost('trip_distance') }} as trip_distance,
    {{ duration_minutes() }} as duration_minutes,
    {{ speed_mph() }} as speed_mph,

    {{ unless_lost('fare_amount') }} as fare_amount,
    extra,
    mta_tax,
    {{ unless_lost('tip_amount') }} as tip_amount,
    tolls_amount,
    ehail_fee,
    improvement_surcharge,
    congestion_surcharge,
    cbd_congestion_fee,
    total_amount,
    {{ tip_share() }} as tip_share,

    vendor_id,
    rate_code_id,
    payment_type_id,
    trip_type_id,
    store_and_fwd_flag,
    request_source,
    faults,
    null::timestamp as pickup_hour_in_file_order,  -- filled in by macros/file_order.sql

    source_month,
    source_row,
    load_id

from {{ with_zones_found('green', ref('stg_tlc__green_trips')) }} as trips
where
    not is_rejected
    -- Not `<> 0`: trips whose passenger count is missing stay.
    and {{ 'true' if var('keep_zero_passengers') else 'passenger_count is distinct from 0' }}
