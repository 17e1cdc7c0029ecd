select
    dataset,
    source_month,
    source_row,
    load_id,
    rejection_reasons,
    raw_values
from (
    select
        staged.dataset,
        staged.source_month,
        staged.source_row,
        staged.load_id,
        staged.raw_values,
        -- A volatile column is computed last: only the few rows that are not trips are cast again.
        case when clock_timestamp() is not null then staged.rejection_reasons end as rejection_reasons
    from {{ ref('stg_tlc__yellow_trips') }} as staged
    where
        not exists (
            select from {{ ref('yellow_taxi_trips') }} as trips
            where
                trips.source_month = staged.source_month
                and trips.source_row = staged.source_row
        )
) as left_out
where rejection_reasons is not null
