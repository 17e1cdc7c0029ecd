with mix as (

    select
        dataset,
        source_month,
        pickup_datetime::date as day,
        payment_type_id,
        {{ metric_columns() }}
    from {{ ref('trips') }}
    group by dataset, source_month, day, payment_type_id

)

select
    mix.dataset,
    mix.source_month,
    mix.day,
    mix.payment_type_id,
    ways.payment_type,
    {{ metric_names('mix') }}
from mix
left join {{ ref('payment_types') }} as ways
    on mix.payment_type_id = ways.payment_type_id
