-- Unquoted names are lower case to PostgreSQL: PULocationID is this view's pulocationid.
{{ config(materialized='replaced_view') }}

select
    vendor_id as vendorid,
    pickup_datetime as tpep_pickup_datetime,
    dropoff_datetime as tpep_dropoff_datetime,
    passenger_count,
    trip_distance,
    rate_code_id as ratecodeid,
    store_and_fwd_flag,
    pickup_location_id as pulocationid,
    dropoff_location_id as dolocationid,
    payment_type_id as payment_type,
    fare_amount,
    extra,
    mta_tax,
    tip_amount,
    tolls_amount,
    improvement_surcharge,
    total_amount,
    congestion_surcharge,
    airport_fee,
    cbd_congestion_fee,
    request_source,
    trip_id,
    source_month
from {{ ref('yellow_taxi_trips') }}
