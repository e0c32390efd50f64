#!/usr/bin/env bash
# Makes the latent stores that tools/tables/fusion.yaml needs, from the shipped codebook: about 50 minutes on two CPU cores, resumable.
#   tools/fusion_stores.sh data/navsim_bench
# Video is plenty and labels are few: a tenth of the training drives keeps its labels, for the planner. Teachers learn from the codes of the
# other drives, so what they expect on the planner's drives is as good, and as bad, as on the test's.
set -eu
folder=${1:?the folder of the NAVSIM data}
data="data=navsim data.path=$folder"
video="$data data.train.split=train_unlabelled"
planned="$data data.train.split=train_labelled parts=[train,val,test,longtail]"
runs=${RUNS:-runs/fusion}
python=${PYTHON:-python}
run="$python -m latentdrive"

label() { $run label model="$1" store="stores/$2" out="$runs/label_$2" "${@:3}"; }
permute() { $python tools/permute_store.py "stores/$1" "stores/$2"; }
teach() { $run train teacher $video latents="stores/$1" out="$runs/$2" "${@:3}" && label "$runs/$2/checkpoint" "$2" $planned; }

$python tools/divide_split.py "$folder/splits" train --share 0.1 --names train_labelled train_unlabelled
label checkpoints/world_codebook codebook $planned
label checkpoints/world_codebook codebook_video $video "parts=[train,val]"
permute codebook_video codebook_video_permuted
teach codebook_video teacher training.schedule.steps=2000
permute teacher teacher_permuted
# The same network with its first weights: a step of learning rate 0.
teach codebook_video untrained training.optimizer.lr=0 training.optimizer.weight_decay=0 training.schedule.steps=1 training.schedule.warmup=0
teach codebook_video_permuted taught_permuted training.schedule.steps=2000
