-- Of a sample that was drawn at random: how many trips of its month each of its trips stands for. Null
-- of whole months, and of samples that were not drawn so, or from before.
alter table raw.loads add column sampled_one_in int;
