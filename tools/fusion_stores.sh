#!/usr/bin/env bash
# Makes the latent stores that tools/tables/fusion.yaml needs, from the shipped codebook: about 20 minutes on two CPU cores, resumable.
#   tools/fusion_stores.sh data/navsim_bench
set -eu
data="data=navsim data.path=${1:?the folder of the NAVSIM data}"
parts="parts=[train,val,test,longtail]"
runs=${RUNS:-runs/fusion}
run="${PYTHON:-python} -m latentdrive"

label() { $run label model="$1" $data $parts store="stores/$2" out="$runs/label_$2"; }

label checkpoints/world_codebook codebook
${PYTHON:-python} tools/permute_store.py stores/codebook stores/codebook_permuted
$run train teacher $data latents=stores/codebook out="$runs/teacher"
label "$runs/teacher/checkpoint" teacher
${PYTHON:-python} tools/permute_store.py stores/teacher stores/teacher_permuted
# The same network with its first weights: a step of learning rate 0.
$run train teacher $data latents=stores/codebook training.optimizer.lr=0 training.optimizer.weight_decay=0 training.schedule.steps=1 training.schedule.warmup=0 out="$runs/untrained"
label "$runs/untrained/checkpoint" untrained
$run train teacher $data latents=stores/codebook_permuted out="$runs/taught_permuted"
label "$runs/taught_permuted/checkpoint" taught_permuted
