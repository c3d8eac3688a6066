"""npx cdk deploy --app 'python app.py' -c routerImage=...   (pip install dist/python/*.whl of deploy/cdk)"""

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecr as ecr
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_lambda as lambda_
from lambda_dispatch_cdk import LambdaDispatchFunction, LambdaDispatchService, RouterSettings

app = cdk.App()
stack = cdk.Stack(app, "LambdaDispatch")
vpc = ec2.Vpc(stack, "Vpc")
repository = ecr.Repository.from_repository_name(stack, "Repository", "lambda-dispatch/application")
application = LambdaDispatchFunction(stack, "Application", vpc=vpc, code=lambda_.DockerImageCode.from_ecr(repository))
router = LambdaDispatchService(
    stack,
    "Router",
    vpc=vpc,
    function=application.function,
    image=ecs.ContainerImage.from_registry(app.node.try_get_context("routerImage") or "lambda-dispatch-router"),
    settings=RouterSettings(min_instances=1, max_instances=100),
)
cdk.CfnOutput(stack, "Host", value=router.load_balancer.load_balancer_dns_name)
app.synth()
