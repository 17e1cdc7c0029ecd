-- The share of its rows that may be rejected, from 0 to 1, as the load of a month allowed it; null of
-- months from before there was such a limit.
alter table raw.loads add column rejected_share double precision;

-- The loader goes by the staging models' rules instead.
drop function if exists raw.months_in(regclass, name);
