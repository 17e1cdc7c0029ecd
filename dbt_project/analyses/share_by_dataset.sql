-- Who drives New York: the share of each dataset in the trips of a month and borough.
select
    source_month,
    borough,
    dataset,
    sum(trips) as trips,
    round(sum(trips) / sum(sum(trips)) over (partition by source_month, borough), 4) as share
from {{ ref('daily_trips') }}
group by source_month, borough, dataset
order by source_month asc, borough asc, share desc
