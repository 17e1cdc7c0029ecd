{#- A raw column, what it is called from here on, and its type. -#}
{%- set typed_columns = [
    ('vendorid', 'vendor_id', 'smallint'),
    ('ratecodeid', 'rate_code_id', 'smallint'),
    ('pulocationid', 'pickup_location_id', 'smallint'),
    ('dolocationid', 'dropoff_location_id', 'smallint'),
    ('payment_type', 'payment_type_id', 'smallint'),
    ('passenger_count', 'passenger_count', 'smallint'),
    ('trip_distance', 'trip_distance', 'numeric'),
    ('fare_amount', 'fare_amount', 'numeric'),
    ('extra', 'extra', 'numeric'),
    ('mta_tax', 'mta_tax', 'numeric'),
    ('tip_amount', 'tip_amount', 'numeric'),
    ('tolls_amount', 'tolls_amount', 'numeric'),
    ('improvement_surcharge', 'improvement_surcharge', 'numeric'),
    ('congestion_surcharge', 'congestion_surcharge', 'numeric'),
    ('total_amount', 'total_amount', 'numeric'),
    ('tpep_pickup_datetime', 'pickup_datetime', 'timestamp'),
    ('tpep_dropoff_datetime', 'dropoff_datetime', 'timestamp'),
] -%}

with source as (

    select * from {{ source('tlc', 'yellow_tripdata') }}

),

renamed as (

    select
        'yellow' as dataset,
        source_month,
        source_row,
        load_id,

        nullif(trim(store_and_fwd_flag), '') as store_and_fwd_flag,
        {%- for raw_name, name, type in typed_columns %}
            {{ cast_or_null(raw_name, type) }} as {{ name }},
        {%- endfor %}

        nullif(concat_ws(
            '; ',
            {%- for raw_name, name, type in typed_columns %}
                case
                    when not {{ is_castable(raw_name, type) }} and trim({{ raw_name }}) <> ''
                        then '{{ raw_name }} is no {{ type }}'
                end{{ ',' if not loop.last }}
            {%- endfor %}
        ), '') as rejection_reasons,
        to_jsonb(source.*) - array['source_month', 'source_row', 'load_id'] as raw_values

    from source

)

select
    *,
    rejection_reasons is not null as is_rejected
from renamed
