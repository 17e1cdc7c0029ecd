with daily as materialized (

    select
        dataset,
        source_month,
        pickup_datetime::date as day,
        coalesce(pickup_borough, 'Not recorded') as borough,
        {{ metric_columns() }}
    from {{ ref('trips') }}
    where {{ is_of_the_month() }}
    group by dataset, source_month, day, coalesce(pickup_borough, 'Not recorded')

)

select
    daily.dataset,
    daily.source_month,
    sampling.sampled_one_in,
    daily.day,
    daily.borough,
    {{ metric_names('daily') }}
from daily
left join {{ ref('int_tlc__sampling') }} as sampling
    on
        daily.dataset = sampling.dataset
        and daily.source_month = sampling.source_month
