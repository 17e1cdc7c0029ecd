-- Unquoted names are lower case to PostgreSQL: PULocationID is this view's pulocationid.
{{ config(materialized='replaced_view') }}

select
    dispatching_base_num,
    pickup_datetime,
    dropoff_datetime,
    pickup_location_id as pulocationid,
    dropoff_location_id as dolocationid,
    sr_flag,
    affiliated_base_num as affiliated_base_number,
    trip_id,
    source_month
from {{ ref('fhv_trips') }}
