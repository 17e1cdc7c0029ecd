select
    weekday,
    hour_of_day,
    sum(trips)::bigint as trips
from {{ ref('hourly_demand') }}
where
    dataset = 'yellow'
    and weekday is not null
group by weekday, hour_of_day
