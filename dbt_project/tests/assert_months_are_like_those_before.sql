-- Returns what of a month is far from the months before it: to be looked at.
{{ config(severity='warn') }}

select
    dataset,
    source_month,
    measure,
    measured,
    median_before
from {{ ref('month_warnings') }}
where {{ months_to_test(ref('trip_accounting')) }}
