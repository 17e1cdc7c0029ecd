-- Unquoted names are lower case to PostgreSQL: PULocationID is this view's pulocationid.
{{ config(materialized='replaced_view') }}

select
    vendor_id as vendorid,
    pickup_datetime as lpep_pickup_datetime,
    dropoff_datetime as lpep_dropoff_datetime,
    store_and_fwd_flag,
    rate_code_id as ratecodeid,
    pickup_location_id as pulocationid,
    dropoff_location_id as dolocationid,
    passenger_count,
    trip_distance,
    fare_amount,
    extra,
    mta_tax,
    tip_amount,
    tolls_amount,
    ehail_fee,
    improvement_surcharge,
    total_amount,
    payment_type_id as payment_type,
    trip_type_id as trip_type,
    congestion_surcharge,
    cbd_congestion_fee,
    request_source,
    trip_id,
    source_month
from {{ ref('green_taxi_trips') }}
