{#- A column's name from here on, its type, and the names that it has had in TLC's files or in
    common copies, in lower case. A file has one of them. -#}
{%- set typed_columns = [
    ('vendor_id', 'smallint', ['vendorid', 'vendor_id']),
    ('rate_code_id', 'smallint', ['ratecodeid', 'rate_code', 'rate_code_id']),
    ('pickup_location_id', 'smallint', ['pulocationid', 'pickup_location_id']),
    ('dropoff_location_id', 'smallint', ['dolocationid', 'dropoff_location_id']),
    ('payment_type_id', 'smallint', ['payment_type', 'paymenttype']),
    ('trip_type_id', 'smallint', ['trip_type', 'triptype']),
    ('store_and_fwd_flag', 'text', ['store_and_fwd_flag', 'storeandfwdflag']),
    ('request_source', 'code', ['request_source']),
    ('passenger_count', 'smallint', ['passenger_count', 'passengercount']),
    ('trip_distance', 'numeric(14, 4)', ['trip_distance', 'tripdistance']),
    ('pickup_longitude', 'numeric(16, 6)', ['pickup_longitude', 'pickuplongitude']),
    ('pickup_latitude', 'numeric(16, 6)', ['pickup_latitude', 'pickuplatitude']),
    ('dropoff_longitude', 'numeric(16, 6)', ['dropoff_longitude', 'dropofflongitude']),
    ('dropoff_latitude', 'numeric(16, 6)', ['dropoff_latitude', 'dropofflatitude']),
    ('fare_amount', 'numeric(14, 4)', ['fare_amount', 'fareamount']),
    ('extra', 'numeric(14, 4)', ['extra']),
    ('mta_tax', 'numeric(14, 4)', ['mta_tax', 'mtatax']),
    ('tip_amount', 'numeric(14, 4)', ['tip_amount', 'tipamount']),
    ('tolls_amount', 'numeric(14, 4)', ['tolls_amount', 'tollsamount']),
    ('ehail_fee', 'numeric(14, 4)', ['ehail_fee', 'ehailfee']),
    (
        'improvement_surcharge', 'numeric(14, 4)',
        ['improvement_surcharge', 'improvementsurcharge', 'imp_surcharge'],
    ),
    ('congestion_surcharge', 'numeric(14, 4)', ['congestion_surcharge']),
    ('cbd_congestion_fee', 'numeric(14, 4)', ['cbd_congestion_fee']),
    ('total_amount', 'numeric(14, 4)', ['total_amount', 'totalamount']),
    (
        'pickup_datetime', 'timestamp',
        ['lpep_pickup_datetime', 'pickup_datetime', 'lpeppickupdatetime'],
    ),
    (
        'dropoff_datetime', 'timestamp',
        ['lpep_dropoff_datetime', 'dropoff_datetime', 'lpepdropoffdatetime'],
    ),
] -%}

{{ typed_rows('green', source('tlc', 'green_tripdata'), typed_columns) }}
