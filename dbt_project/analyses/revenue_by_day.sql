-- How do trips and revenue go, day by day? A series to plot.
select
    dataset,
    day,
    sum(trips) as trips,
    sum(revenue) as revenue
from {{ ref('daily_trips') }}
group by dataset, day
order by dataset, day
