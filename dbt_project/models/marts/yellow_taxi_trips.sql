{{ config(
    alias=var('trips_table'),
    indexes=[{'columns': ['source_month'], 'type': 'brin'}],
) }}

with staged as (

    select * from {{ ref('stg_tlc__yellow_trips') }}

),

rejected as (

    select * from {{ ref('rejected_trips') }}

)

select
    staged.source_month,
    staged.source_row,
    staged.load_id,

    staged.vendor_id,
    staged.rate_code_id,
    staged.pickup_location_id,
    staged.dropoff_location_id,
    staged.payment_type_id,
    staged.store_and_fwd_flag,

    staged.passenger_count,
    staged.trip_distance,
    staged.fare_amount,
    staged.extra,
    staged.mta_tax,
    staged.tip_amount,
    staged.tolls_amount,
    staged.improvement_surcharge,
    staged.congestion_surcharge,
    staged.total_amount,

    staged.pickup_datetime,
    staged.dropoff_datetime

from staged
where
    -- Not `<> 0`: trips whose passenger count is missing stay.
    staged.passenger_count is distinct from 0
    and not exists (
        select from rejected
        where
            rejected.source_month = staged.source_month
            and rejected.source_row = staged.source_row
    )
