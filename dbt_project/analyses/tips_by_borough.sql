-- Where do passengers who pay by card tip best?
select
    borough,
    sum(trips) as trips,
    round(sum(card_tips) / nullif(sum(card_fares), 0), 4) as tip_rate
from {{ ref('daily_trips') }}
where dataset in ('yellow', 'green')
group by borough
order by tip_rate desc nulls last
