with ends as (

    select
        dataset,
        'pickup' as which_end,
        pickup_location_id as location_id,
        pickup_zone as title,
        pickup_borough as borough,
        trips,
        revenue,
        card_tips
    from {{ ref('zone_pairs') }}

    union all

    select
        dataset,
        'dropoff' as which_end,
        dropoff_location_id as location_id,
        dropoff_zone as title,
        dropoff_borough as borough,
        trips,
        revenue,
        card_tips
    from {{ ref('zone_pairs') }}

)

select
    dataset,
    which_end,
    location_id,
    title,
    borough,
    sum(trips)::bigint as trips,
    sum(revenue)::numeric(22, 4) as revenue,
    sum(card_tips)::numeric(22, 4) as card_tips
from ends
where location_id between 1 and 263
group by dataset, which_end, location_id, title, borough
