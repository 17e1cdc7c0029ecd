{{ config(
    alias=var('trips_table'),
    indexes=[
        {'columns': ['source_month'], 'type': 'brin'},
        {'columns': ['pickup_datetime'], 'type': 'brin'},
    ],
) }}

select
    (source_month - date '2000-01-01')::bigint * 100000000 + source_row as trip_id,
    source_month,
    source_row,
    load_id,

    vendor_id,
    rate_code_id,
    pickup_location_id,
    dropoff_location_id,
    payment_type_id,
    store_and_fwd_flag,

    passenger_count,
    trip_distance,
    fare_amount,
    extra,
    mta_tax,
    tip_amount,
    tolls_amount,
    improvement_surcharge,
    congestion_surcharge,
    total_amount,
    {{ duration_minutes() }} as duration_minutes,
    {{ speed_mph() }} as speed_mph,
    {{ tip_share() }} as tip_share,

    {{ is_dropoff_before_pickup() }} as is_dropoff_before_pickup,
    {{ is_fare_without_distance() }} as is_fare_without_distance,
    {{ has_negative_amount() }} as has_negative_amount,
    {{ is_outside_source_month() }} as is_outside_source_month,

    pickup_datetime,
    dropoff_datetime

from (
    select
        *,
        -- A volatile column keeps PostgreSQL from merging this step with the one around it, where
        -- it would cast a timestamp anew for each column that is computed from it.
        clock_timestamp() as cast_at
    from {{ ref('stg_tlc__yellow_trips') }}
) as staged
where
    -- Not `<> 0`: trips whose passenger count is missing stay.
    passenger_count is distinct from 0
    and not exists (
        select from {{ ref('rejected_trips') }} as rejected
        where
            rejected.source_month = staged.source_month
            and rejected.source_row = staged.source_row
    )
