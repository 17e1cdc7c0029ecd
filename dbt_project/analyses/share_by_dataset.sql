-- Who drives New York, and where? `share` is the dataset's part in the borough's trips, which
-- samples can't tell; `share_of_dataset` is the borough's part in the dataset's trips.
select
    source_month,
    borough,
    dataset,
    sum(trips) as trips,
    round(sum(trips) / sum(sum(trips)) over (partition by source_month, borough), 4) as share,
    round(sum(trips) / sum(sum(trips)) over (partition by source_month, dataset), 4)
        as share_of_dataset
from {{ ref('daily_trips') }}
group by source_month, borough, dataset
order by source_month asc, borough asc, share desc
