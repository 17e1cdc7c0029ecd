-- Unquoted names are lower case to PostgreSQL: PULocationID is this view's pulocationid.
{{ config(materialized='replaced_view') }}

select
    hvfhs_license_num,
    dispatching_base_num,
    originating_base_num,
    request_datetime,
    on_scene_datetime,
    pickup_datetime,
    dropoff_datetime,
    pickup_location_id as pulocationid,
    dropoff_location_id as dolocationid,
    trip_distance as trip_miles,
    trip_seconds as trip_time,
    fare_amount as base_passenger_fare,
    tolls_amount as tolls,
    black_car_fund as bcf,
    sales_tax,
    congestion_surcharge,
    airport_fee,
    tip_amount as tips,
    driver_pay,
    shared_request_flag,
    shared_match_flag,
    access_a_ride_flag,
    wav_request_flag,
    wav_match_flag,
    cbd_congestion_fee,
    trip_id,
    source_month
from {{ ref('fhvhv_trips') }}
