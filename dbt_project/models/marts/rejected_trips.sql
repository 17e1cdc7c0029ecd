select
    source_month,
    source_row,
    load_id,
    rejection_reasons,
    raw_values
from {{ ref('stg_tlc__yellow_trips') }}
where rejection_reasons is not null
