-- With a join to the rejected rows, which are few; so no row of the raw month is looked at twice.
-- depends_on: {{ ref('trips') }}
select
    staged.dataset,
    staged.source_month,
    staged.vendor_id,
    count(*) as raw_rows,
    {% if var('keep_zero_passengers') -%}
        0::bigint
    {%- else -%}
        count(*) filter (where staged.passenger_count = 0 and rejected.source_row is null)
    {%- endif %} as zero_passenger_trips
from (select * from {{ ref('int_tlc__rows_unioned') }} where {{ is_of_the_month() }}) as staged
left join {{ ref('rejected_trips') }} as rejected
    on
        staged.dataset = rejected.dataset
        and staged.source_month = rejected.source_month
        and staged.source_row = rejected.source_row
group by staged.dataset, staged.source_month, staged.vendor_id
