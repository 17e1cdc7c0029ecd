{#- A column's name from here on, its type, and the names that it has had in TLC's files or in
    common copies, in lower case. A file has one of them. -#}
{%- set typed_columns = [
    ('vendor_id', 'smallint', ['vendorid', 'vendor_id', 'vendor_name']),
    ('rate_code_id', 'smallint', ['ratecodeid', 'rate_code']),
    ('pickup_location_id', 'smallint', ['pulocationid', 'pickup_location_id']),
    ('dropoff_location_id', 'smallint', ['dolocationid', 'dropoff_location_id']),
    ('payment_type_id', 'smallint', ['payment_type', 'paymenttype']),
    (
        'store_and_fwd_flag', 'text',
        ['store_and_fwd_flag', 'store_and_forward', 'storeandfwdflag'],
    ),
    ('request_source', 'text', ['request_source']),
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

{#- Words for codes, as TLC wrote them until 2014, in lower case. A word that nobody knows becomes
    null and is listed in unknown_spellings; its row is a trip all the same. -#}
{%- set spellings = {
    'vendor_id': {'cmt': 1, 'vts': 2, 'dds': 3},
    'payment_type_id': {
        'credit': 1, 'cre': 1, 'crd': 1, 'cash': 2, 'cas': 2, 'csh': 2,
        'no charge': 3, 'no': 3, 'noc': 3, 'dispute': 4, 'dis': 4,
    },
    'store_and_fwd_flag': {'y': 'Y', '1': 'Y', '1.0': 'Y', 'n': 'N', '0': 'N', '0.0': 'N'},
} -%}

{#- Conditions on typed_at, which is volatile, are checked after the values are there. One on the
    values alone PostgreSQL would check first, and read them all twice. -#}
{%- set is_any_lost -%}
    case when typed_at is not null then {{ any_lost(typed_columns, spellings) }} end
{%- endset -%}

with source as (

    select
        raw_rows.source_month,
        raw_rows.source_row,
        raw_rows.load_id,
        {%- for name, type, raw_names in typed_columns %}
            {{ first_there('raw_rows', raw_names) }} as {{ name }}_text,
        {%- endfor %}
        -- With `.*`, because a file may have a column that is called raw_rows.
        coalesce(raw_rows.*) as raw_row
    from {{ source('tlc', 'yellow_tripdata') }} as raw_rows

)

select
    'yellow' as dataset,
    source_month,
    source_row,
    load_id,
    {%- for name, type, raw_names in typed_columns %}
        {{ name }},
    {%- endfor %}

    {{ is_any_lost }} as is_rejected,
    case when {{ is_any_lost }} then {{ rejection_reasons(typed_columns, spellings) }} end
        as rejection_reasons,
    case when {{ is_any_lost }} then jsonb_strip_nulls(
        to_jsonb(raw_row) - array['source_month', 'source_row', 'load_id']
    ) end as raw_values,
    {{ unknown_spellings(typed_columns, spellings) }} as unknown_spellings

-- Not CTEs: PostgreSQL fills one with a volatile column as a whole, and in one process.
from (
    select
        source_month,
        source_row,
        load_id,
        raw_row,
        {%- for name, type, raw_names in typed_columns %}
            {{ name }}_text,
            {{ value(name ~ '_text', type, name ~ '_reading', spellings.get(name)) }} as {{ name }},
        {%- endfor %}
        {{ read_once() }} as typed_at
    from (
        select
            *,
            {%- for name, type, raw_names in typed_columns %}
                {{ reading(name ~ '_text', type) }} as {{ name }}_reading,
            {%- endfor %}
            {{ read_once() }} as read_at
        from source
    ) as readings
) as typed
