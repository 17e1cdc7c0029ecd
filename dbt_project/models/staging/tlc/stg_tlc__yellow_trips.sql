{#- A column's name from here on, its type, and the names that it has had in TLC's files or in
    common copies, in lower case. A file has one of them. -#}
{%- set typed_columns = [
    ('vendor_id', 'smallint', ['vendorid', 'vendor_id', 'vendor_name']),
    ('rate_code_id', 'smallint', ['ratecodeid', 'rate_code', 'rate_code_id', 'ratecode']),
    ('pickup_location_id', 'smallint', ['pulocationid', 'pickup_location_id', 'pu_location_id']),
    ('dropoff_location_id', 'smallint', ['dolocationid', 'dropoff_location_id', 'do_location_id']),
    ('payment_type_id', 'smallint', ['payment_type', 'paymenttype']),
    (
        'store_and_fwd_flag', 'text',
        ['store_and_fwd_flag', 'store_and_forward', 'storeandfwdflag'],
    ),
    ('request_source', 'code', ['request_source']),
    ('passenger_count', 'smallint', ['passenger_count', 'passengercount']),
    ('trip_distance', 'numeric', ['trip_distance', 'tripdistance']),
    ('pickup_longitude', 'numeric', ['pickup_longitude', 'start_lon', 'startlon']),
    ('pickup_latitude', 'numeric', ['pickup_latitude', 'start_lat', 'startlat']),
    ('dropoff_longitude', 'numeric', ['dropoff_longitude', 'end_lon', 'endlon']),
    ('dropoff_latitude', 'numeric', ['dropoff_latitude', 'end_lat', 'endlat']),
    ('fare_amount', 'numeric', ['fare_amount', 'fare_amt', 'fareamount']),
    ('extra', 'numeric', ['extra', 'surcharge']),
    ('mta_tax', 'numeric', ['mta_tax', 'mtatax']),
    ('tip_amount', 'numeric', ['tip_amount', 'tip_amt', 'tipamount']),
    ('tolls_amount', 'numeric', ['tolls_amount', 'tolls_amt', 'tollsamount']),
    (
        'improvement_surcharge', 'numeric',
        ['improvement_surcharge', 'improvementsurcharge', 'imp_surcharge'],
    ),
    ('congestion_surcharge', 'numeric', ['congestion_surcharge']),
    ('airport_fee', 'numeric', ['airport_fee']),
    ('cbd_congestion_fee', 'numeric', ['cbd_congestion_fee']),
    ('total_amount', 'numeric', ['total_amount', 'total_amt', 'totalamount']),
    (
        'pickup_datetime', 'timestamp',
        ['tpep_pickup_datetime', 'pickup_datetime', 'trip_pickup_datetime', 'tpeppickupdatetime'],
    ),
    (
        'dropoff_datetime', 'timestamp',
        ['tpep_dropoff_datetime', 'dropoff_datetime', 'trip_dropoff_datetime', 'tpepdropoffdatetime'],
    ),
] -%}

{{ typed_rows('yellow', source('tlc', 'yellow_tripdata'), typed_columns) }}
