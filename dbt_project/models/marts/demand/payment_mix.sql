with mix as materialized (

    select
        dataset,
        source_month,
        pickup_datetime::date as day,
        payment_type_id,
        {{ metric_columns() }}
    from {{ ref('trips') }}
    where {{ is_of_the_month() }}
    group by dataset, source_month, day, payment_type_id

)

select
    mix.dataset,
    mix.source_month,
    sampling.sampled_one_in,
    mix.day,
    mix.payment_type_id,
    ways.payment_type,
    {{ metric_names('mix') }}
from mix
left join {{ ref('payment_types') }} as ways
    on mix.payment_type_id = ways.payment_type_id
left join {{ ref('int_tlc__sampling') }} as sampling
    on
        mix.dataset = sampling.dataset
        and mix.source_month = sampling.source_month
