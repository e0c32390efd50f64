#!/usr/bin/env bash
# Makes the latent stores that tools/tables/fusion.yaml needs, ROW_SEED each, from the shipped codebook: on two CPU cores about 20 minutes for the
# codes, and 20 for the teachers of a seed; resumable. Two seeds may run side by side once the codes are there.
#   tools/fusion_stores.sh data/navsim_bench 0 1 2
# Video is plenty and labels are few: a tenth of the training drives keeps its labels, for the planner. Teachers learn from the codes of the
# other drives, so what they expect on the planner's drives is as good, and as bad, as on the test's.
set -eu
folder=${1:?the folder of the NAVSIM data, then the seeds of the teachers}
seeds=${*:2}
data="data=navsim data.path=$folder"
video="$data data.split.train=train_unlabelled"
planned="$data data.split.train=train_labelled parts=[train,val,test,longtail]"
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
for seed in ${seeds:-0 1 2}; do
  teach codebook_video "teacher_$seed" training.schedule.steps=2000 seed="$seed"
  permute "teacher_$seed" "permuted_$seed"
  # The same network with its first weights: a step of learning rate 0.
  teach codebook_video "untrained_$seed" training.optimizer.lr=0 training.optimizer.weight_decay=0 training.schedule.steps=1 training.schedule.warmup=0 seed="$seed"
  teach codebook_video_permuted "permuted_codes_$seed" training.schedule.steps=2000 seed="$seed"
done
