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
    ('trip_distance', 'numeric(14, 4)', ['trip_distance', 'tripdistance']),
    ('pickup_longitude', 'numeric(16, 6)', ['pickup_longitude', 'start_lon', 'startlon']),
    ('pickup_latitude', 'numeric(16, 6)', ['pickup_latitude', 'start_lat', 'startlat']),
    ('dropoff_longitude', 'numeric(16, 6)', ['dropoff_longitude', 'end_lon', 'endlon']),
    ('dropoff_latitude', 'numeric(16, 6)', ['dropoff_latitude', 'end_lat', 'endlat']),
    ('fare_amount', 'numeric(14, 4)', ['fare_amount', 'fare_amt', 'fareamount']),
    ('extra', 'numeric(14, 4)', ['extra', 'surcharge']),
    ('mta_tax', 'numeric(14, 4)', ['mta_tax', 'mtatax']),
    ('tip_amount', 'numeric(14, 4)', ['tip_amount', 'tip_amt', 'tipamount']),
    ('tolls_amount', 'numeric(14, 4)', ['tolls_amount', 'tolls_amt', 'tollsamount']),
    (
        'improvement_surcharge', 'numeric(14, 4)',
        ['improvement_surcharge', 'improvementsurcharge', 'imp_surcharge'],
    ),
    ('congestion_surcharge', 'numeric(14, 4)', ['congestion_surcharge']),
    ('airport_fee', 'numeric(14, 4)', ['airport_fee']),
    ('cbd_congestion_fee', 'numeric(14, 4)', ['cbd_congestion_fee']),
    ('total_amount', 'numeric(14, 4)', ['total_amount', 'total_amt', 'totalamount']),
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
