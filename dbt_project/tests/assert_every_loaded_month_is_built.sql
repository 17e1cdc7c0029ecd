-- Returns the loaded months that are not, or not from their latest load, in the models.
select
    loads.dataset,
    loads.source_month,
    loads.load_id
from {{ ref('stg_tlc__loads') }} as loads
left join {{ ref('trip_accounting') }} as accounting
    on loads.load_id = accounting.load_id
where
    loads.is_current
    and accounting.load_id is null
