{#- A column's name from here on, its type, and the names that it has had in TLC's files or in
    common copies, in lower case. The files of 2018 have the base's number under two names, of which
    the first one has the values. -#}
{%- set typed_columns = [
    (
        'dispatching_base_num', 'code',
        ['dispatching_base_number', 'dispatching_base_num', 'dispatchbasenum'],
    ),
    ('affiliated_base_num', 'code', ['affiliated_base_number', 'affiliated_base_num']),
    (
        'pickup_location_id', 'smallint',
        ['pulocationid', 'locationid', 'pickup_location_id'],
    ),
    ('dropoff_location_id', 'smallint', ['dolocationid', 'dropoff_location_id']),
    ('sr_flag', 'smallint', ['sr_flag', 'srflag']),
    ('pickup_datetime', 'timestamp', ['pickup_datetime', 'pickup_date', 'pickupdatetime']),
    ('dropoff_datetime', 'timestamp', ['dropoff_datetime', 'dropoffdatetime']),
] -%}

{{ typed_rows('fhv', source('tlc', 'fhv_tripdata'), typed_columns) }}
