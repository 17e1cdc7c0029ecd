-- The days of the loaded months alone: a file may hold days for which Python has no date.
select
    dataset,
    day,
    sum(trips)::bigint as trips,
    sum(revenue)::numeric(22, 4) as revenue
from {{ ref('daily_trips') }} as daily
where
    exists (
        select from {{ ref('report_months') }} as months
        where
            months.dataset = daily.dataset
            and months.source_month = date_trunc('month', daily.day::timestamp)
    )
group by dataset, day
