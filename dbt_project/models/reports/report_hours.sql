select
    dataset,
    weekday,
    hour_of_day,
    sum(trips)::bigint as trips
from {{ ref('hourly_demand') }}
where weekday is not null
group by dataset, weekday, hour_of_day
