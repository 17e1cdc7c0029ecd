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
    ('trip_distance', 'numeric', ['trip_distance', 'tripdistance']),
    ('pickup_longitude', 'numeric', ['pickup_longitude', 'pickuplongitude']),
    ('pickup_latitude', 'numeric', ['pickup_latitude', 'pickuplatitude']),
    ('dropoff_longitude', 'numeric', ['dropoff_longitude', 'dropofflongitude']),
    ('dropoff_latitude', 'numeric', ['dropoff_latitude', 'dropofflatitude']),
    ('fare_amount', 'numeric', ['fare_amount', 'fareamount']),
    ('extra', 'numeric', ['extra']),
    ('mta_tax', 'numeric', ['mta_tax', 'mtatax']),
    ('tip_amount', 'numeric', ['tip_amount', 'tipamount']),
    ('tolls_amount', 'numeric', ['tolls_amount', 'tollsamount']),
    ('ehail_fee', 'numeric', ['ehail_fee', 'ehailfee']),
    (
        'improvement_surcharge', 'numeric',
        ['improvement_surcharge', 'improvementsurcharge', 'imp_surcharge'],
    ),
    ('congestion_surcharge', 'numeric', ['congestion_surcharge']),
    ('cbd_congestion_fee', 'numeric', ['cbd_congestion_fee']),
    ('total_amount', 'numeric', ['total_amount', 'totalamount']),
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
