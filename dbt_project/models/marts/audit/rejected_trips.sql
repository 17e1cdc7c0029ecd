-- Only the few raw rows that are not trips have their values read again.
-- depends_on: {{ ref('trips') }}
{{ config(meta={'of_rows_left_out': true}) }}

select
    dataset,
    source_month,
    source_row,
    load_id,
    rejection_reasons,
    raw_values
from {{ ref('int_tlc__rows_unioned') }}
where is_rejected
