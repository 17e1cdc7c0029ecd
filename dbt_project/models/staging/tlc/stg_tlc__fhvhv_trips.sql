{#- A column's name from here on, its type, and the names that it has had in TLC's files or in
    common copies, in lower case. A file has one of them. -#}
{%- set typed_columns = [
    ('hvfhs_license_num', 'code', ['hvfhs_license_num', 'hv_license_num']),
    ('dispatching_base_num', 'code', ['dispatching_base_num']),
    ('originating_base_num', 'code', ['originating_base_num']),
    ('pickup_location_id', 'smallint', ['pulocationid', 'pickup_location_id']),
    ('dropoff_location_id', 'smallint', ['dolocationid', 'dropoff_location_id']),
    ('trip_distance', 'numeric(14, 4)', ['trip_miles']),
    ('trip_seconds', 'numeric(14, 4)', ['trip_time']),
    ('fare_amount', 'numeric(14, 4)', ['base_passenger_fare']),
    ('tolls_amount', 'numeric(14, 4)', ['tolls']),
    ('black_car_fund', 'numeric(14, 4)', ['bcf']),
    ('sales_tax', 'numeric(14, 4)', ['sales_tax']),
    ('congestion_surcharge', 'numeric(14, 4)', ['congestion_surcharge']),
    ('airport_fee', 'numeric(14, 4)', ['airport_fee']),
    ('cbd_congestion_fee', 'numeric(14, 4)', ['cbd_congestion_fee']),
    ('tip_amount', 'numeric(14, 4)', ['tips']),
    ('driver_pay', 'numeric(14, 4)', ['driver_pay']),
    ('sr_flag', 'smallint', ['sr_flag']),
    ('shared_request_flag', 'text', ['shared_request_flag']),
    ('shared_match_flag', 'text', ['shared_match_flag']),
    ('access_a_ride_flag', 'text', ['access_a_ride_flag']),
    ('wav_request_flag', 'text', ['wav_request_flag']),
    ('wav_match_flag', 'text', ['wav_match_flag']),
    ('request_datetime', 'timestamp', ['request_datetime']),
    ('on_scene_datetime', 'timestamp', ['on_scene_datetime']),
    ('pickup_datetime', 'timestamp', ['pickup_datetime']),
    ('dropoff_datetime', 'timestamp', ['dropoff_datetime']),
] -%}

{{ typed_rows('fhvhv', source('tlc', 'fhvhv_tripdata'), typed_columns) }}
