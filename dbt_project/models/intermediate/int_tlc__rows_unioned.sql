-- What all datasets' raw rows have in common. Each part is read only if its dataset is asked for.
select
    dataset,
    source_month,
    source_row,
    load_id,
    vendor_id,
    passenger_count,
    is_rejected,
    rejection_reasons,
    raw_values
from {{ ref('stg_tlc__yellow_trips') }}

union all

select
    dataset,
    source_month,
    source_row,
    load_id,
    vendor_id,
    passenger_count,
    is_rejected,
    rejection_reasons,
    raw_values
from {{ ref('stg_tlc__green_trips') }}

union all

select
    dataset,
    source_month,
    source_row,
    load_id,
    null::smallint as vendor_id,
    null::smallint as passenger_count,
    is_rejected,
    rejection_reasons,
    raw_values
from {{ ref('stg_tlc__fhv_trips') }}

union all

select
    dataset,
    source_month,
    source_row,
    load_id,
    null::smallint as vendor_id,
    null::smallint as passenger_count,
    is_rejected,
    rejection_reasons,
    raw_values
from {{ ref('stg_tlc__fhvhv_trips') }}
