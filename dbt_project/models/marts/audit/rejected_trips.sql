select
    dataset,
    source_month,
    source_row,
    load_id,
    rejection_reasons,
    raw_values
from {{ ref('stg_tlc__yellow_trips') }} as staged
where
    -- Only the few rows that are not trips have their values read again: the volatile columns of
    -- the staging model make PostgreSQL look at this first.
    not exists (
        select from {{ ref('yellow_taxi_trips') }} as trips
        where
            trips.source_month = staged.source_month
            and trips.source_row = staged.source_row
    )
    and is_rejected
