-- The months before are those of the twelve that are loaded and, like the month itself, samples or
-- whole; with fewer than six nothing is said. A fault without a trip has no row: that is 0.
{{ config(materialized='replaced_view') }}

with months as (

    select
        dataset,
        source_month,
        is_sample
    from {{ ref('trip_accounting') }}

),

before as (

    select
        months.dataset,
        months.source_month,
        earlier.source_month as earlier_month,
        count(*) over (partition by months.dataset, months.source_month) as months_before
    from months
    inner join months as earlier
        on
            months.dataset = earlier.dataset
            and months.is_sample = earlier.is_sample
            and months.source_month > earlier.source_month
            and earlier.source_month >= months.source_month - interval '12 months'

),

measures as (

    select distinct
        dataset,
        measure
    from {{ ref('month_health') }}

),

earlier as (

    select
        before.dataset,
        before.source_month,
        measures.measure,
        coalesce(health.measured, 0) as measured
    from before
    inner join measures
        on before.dataset = measures.dataset
    left join {{ ref('month_health') }} as health
        on
            before.dataset = health.dataset
            and before.earlier_month = health.source_month
            and measures.measure = health.measure
    where before.months_before >= 6

),

medians as (

    select
        dataset,
        source_month,
        measure,
        percentile_cont(0.5) within group (order by measured)::numeric as median
    from earlier
    group by dataset, source_month, measure

),

spreads as (

    select
        earlier.dataset,
        earlier.source_month,
        earlier.measure,
        medians.median,
        percentile_cont(0.5) within group (
            order by abs(earlier.measured - medians.median)
        )::numeric as deviation
    from earlier
    inner join medians
        on
            earlier.dataset = medians.dataset
            and earlier.source_month = medians.source_month
            and earlier.measure = medians.measure
    group by earlier.dataset, earlier.source_month, earlier.measure, medians.median

)

select
    spreads.dataset,
    spreads.source_month,
    spreads.measure,
    coalesce(health.measured, 0)::numeric(22, 6) as measured,
    spreads.median::numeric(22, 6) as median_before
from spreads
left join {{ ref('month_health') }} as health
    on
        spreads.dataset = health.dataset
        and spreads.source_month = health.source_month
        and spreads.measure = health.measure
-- The longest name that the measure begins with.
inner join
    lateral (
        select
            thresholds.least_difference,
            thresholds.least_part,
            thresholds.deviations
        from {{ ref('health_thresholds') }} as thresholds
        where starts_with(spreads.measure, thresholds.measures)
        order by length(thresholds.measures) desc
        limit 1
    ) as thresholds
    on
        abs(coalesce(health.measured, 0) - spreads.median) > greatest(
            thresholds.least_difference,
            thresholds.least_part * abs(spreads.median),
            thresholds.deviations * spreads.deviation
        )
where
    not exists (
        select from {{ ref('known_events') }} as events
        where
            spreads.dataset = any(string_to_array(events.datasets, ', '))
            and to_char(spreads.source_month, 'YYYY-MM')
            between events.first_month and events.last_month
            and starts_with(spreads.measure, events.measures)
    )
