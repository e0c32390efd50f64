#!/usr/bin/env bash
# Makes the latent stores that tools/tables/fusion.yaml needs, from the shipped codebook: about 50 minutes on two CPU cores, resumable.
#   tools/fusion_stores.sh data/navsim_bench
set -eu
data="data=navsim data.path=${1:?the folder of the NAVSIM data}"
parts="parts=[train,val,test,longtail]"
runs=${RUNS:-runs/fusion}
run="${PYTHON:-python} -m latentdrive"

label() { $run label model="$1" $data $parts store="stores/$2" out="$runs/label_$2"; }
permute() { ${PYTHON:-python} tools/permute_store.py "stores/$1" "stores/$2"; }
teach() { $run train teacher $data latents="stores/$1" out="$runs/$2" "${@:3}" && label "$runs/$2/checkpoint" "$2"; }

label checkpoints/world_codebook codebook
permute codebook codebook_permuted
# A thousand steps see each window two and a half times: on drives that it learned from it expects the future no better than on others.
teach codebook teacher_early training.schedule.steps=1000
permute teacher_early teacher_early_permuted
teach codebook_permuted taught_permuted_early training.schedule.steps=1000
# The same network with its first weights: a step of learning rate 0.
teach codebook untrained training.optimizer.lr=0 training.optimizer.weight_decay=0 training.schedule.steps=1 training.schedule.warmup=0
# The usual three thousand steps, after which it does.
teach codebook teacher
permute teacher teacher_permuted
teach codebook_permuted taught_permuted
