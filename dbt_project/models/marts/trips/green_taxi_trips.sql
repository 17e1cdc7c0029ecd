{{ config(
    materialized='partitioned_by_month',
    meta={'dataset': 'green'},
    indexes=[{'columns': ['pickup_datetime'], 'type': 'brin'}],
) }}

select
    (source_month - date '2000-01-01')::bigint * 100000000 + source_row as trip_id,

    pickup_datetime,
    dropoff_datetime,
    {{ location_id('pickup') }} as pickup_location_id,
    {{ location_id('dropoff') }} as dropoff_location_id,
    {{ zone_from('pickup') }} as pickup_zone_from,
    {{ zone_from('dropoff') }} as dropoff_zone_from,
    pickup_longitude,
    pickup_latitude,
    dropoff_longitude,
    dropoff_latitude,
    passenger_count,
    trip_distance,
    {{ duration_minutes() }} as duration_minutes,
    {{ speed_mph() }} as speed_mph,

    fare_amount,
    extra,
    mta_tax,
    tip_amount,
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
    {{ is_dropoff_before_pickup() }} as is_dropoff_before_pickup,
    {{ is_fare_without_distance() }} as is_fare_without_distance,
    {{ is_implausibly_fast() }} as is_implausibly_fast,
    {{ is_implausibly_long() }} as is_implausibly_long,
    {{ has_negative_amount() }} as has_negative_amount,
    {{ is_outside_source_month() }} as is_outside_source_month,

    source_month,
    source_row,
    load_id

from {{ with_zones_found(ref('stg_tlc__green_trips')) }} as trips
where
    not is_rejected
    -- Not `<> 0`: trips whose passenger count is missing stay.
    and passenger_count is distinct from 0
